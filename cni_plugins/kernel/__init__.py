"""What the kernel does for us: files, processes, network namespaces, netlink, nftables, sysctls. The only importer of each."""
