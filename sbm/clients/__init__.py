"""The services that sbm calls: nothing else speaks HTTP to them."""
