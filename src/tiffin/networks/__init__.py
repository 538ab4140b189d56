"""The network domain: subnets and addresses, bridges, host ports, what name files say.

`service.Networks` is what others use. Pure parts: `definition`, `addresses`, `placing`, `files`, `firewall.ruleset`.
"""
