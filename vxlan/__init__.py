"""The overlay: VXLAN between nodes, alone or beside flanneld."""
