"""Ways to bring files from one directory to another. Each has a `name`, what it does `not` promise, and
`send(source, into)`, which gives the seconds until the last byte is on the disk; `into` is fresh.
"""
