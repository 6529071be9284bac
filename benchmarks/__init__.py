"""Measurements that README quotes: every benchmark writes JSON into ``results``, ``render`` draws the tables."""
