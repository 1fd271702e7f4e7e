"""Where the relay touches the world, one library a file."""
