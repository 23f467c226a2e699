"""What one document may cost. Beyond any of these it ends as `resource_limit` or `too_many_pages`."""

MEMORY = 1 << 30  # bytes of address space
CPU_SECONDS = 20
WALL_SECONDS = 30
OUTPUT_BYTES = 20_000_000
PAGES = 5_000
BLOCKS = 50_000  # each is a chunk of its own at least
HEADING = 120  # characters of a heading that are kept in a path
