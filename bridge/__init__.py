"""The bridge plugin: containers share an Ethernet bridge on their node."""
