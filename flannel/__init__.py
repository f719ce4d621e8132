"""The flannel plugin: a network whose subnet on this node flanneld, or our own agent, has written down; another plugin makes it."""
