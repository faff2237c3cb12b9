"""What a sandbox sees as its files: this machine's own, or a root filesystem with a layer above."""
