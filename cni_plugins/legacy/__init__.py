"""What the reference plugins (github.com/containernetworking/plugins) leave on a node for one attachment, and how it is dropped.

Its names are computed from the attachment, so that looking for something that is not there costs a fraction of a millisecond.
`find(nft, att)` gives an item (plain data) or None, `drop(nft, item)` removes what it speaks of and nothing else; chains and
tables that all attachments share stay, as they do after the reference's own DEL.
"""
