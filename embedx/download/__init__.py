"""From links to a labelled audio set: ``plan`` what to fetch, ``fetch`` it (yt-dlp lives there), keep a ``ledger``."""
