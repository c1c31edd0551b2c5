"""Queues of clips to label without the page: written for spreadsheets, Raven and Audacity, and read back filled in."""
