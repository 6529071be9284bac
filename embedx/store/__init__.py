"""The embedding store: the only modules that import h5py (``file`` one immutable file, ``store`` the whole)."""
