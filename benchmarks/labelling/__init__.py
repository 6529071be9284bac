"""How many labels are needed when a page asks for the clips that teach most."""
