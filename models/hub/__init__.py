"""Load weights from a folder or the Hub: download, hashes, layouts, strict loading."""
