"""Links, addresses, routes and nftables over netlink sockets.

A codec of our own: importing pyroute2 takes 130 ms and attaching one container through it 2.5 ms, which is more than
the whole start path may spend here; this one takes 1 ms, of which the kernel's making of the veth pair is 0.7.

- `message` encodes attributes and headers; `socket` sends requests and turns the kernel's refusals into OSError.
- `links`, `routing` are rtnetlink: links, addresses, routes, neighbours.
- `nftables` builds atomic batches; `expressions` is what rules are made of; `conntrack` forgets flows.
"""
