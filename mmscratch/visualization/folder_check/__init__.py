"""The check of a folder of data that ``tools/data/check.py`` makes: its page, and its repair."""
