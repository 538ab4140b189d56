"""The Engine API's server side: transport, router, and one module a resource."""
