"""More like this: the clips of a store that sound most like one clip, or like those of a label."""

from embedx.search.store_search import Hit, search_store

__all__ = ["Hit", "search_store"]
