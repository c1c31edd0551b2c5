"""The loop with people in it: clips of a table, what is asked next, what was learnt, what is known now."""
