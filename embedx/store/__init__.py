"""The embedding store: the only rooms that know h5py (``file`` one immutable file, ``store`` the whole)."""
