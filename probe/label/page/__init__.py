"""The page on which people label: a server for one table, and its sounds, pictures, HTML, CSS and JS."""
