"""Commands that fetch and publish: download, convert, publish."""
