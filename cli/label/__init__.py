"""Steps of `oscine label`, one file each: suggest, page, read, combine, simulate."""
