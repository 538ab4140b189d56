"""Swarm and managed plugins: there are none, and the answers are those of a dockerd that has none either."""

from tiffin.errors import NotFound, Unavailable, Unsupported
from tiffin.http import response
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route

_NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)


@route("GET", "/swarm")
@route("GET", "/swarm/unlockkey")
@route("POST", "/swarm/update")
@route("GET", "/nodes")
@route("GET", "/nodes/{rest:.*}")
@route("POST", "/nodes/{rest:.*}")
@route("DELETE", "/nodes/{rest:.*}")
@route("GET", "/services")
@route("GET", "/services/{rest:.*}")
@route("POST", "/services/{rest:.*}")
@route("DELETE", "/services/{rest:.*}")
@route("GET", "/tasks")
@route("GET", "/tasks/{rest:.*}")
@route("GET", "/secrets")
@route("GET", "/secrets/{rest:.*}")
@route("POST", "/secrets/{rest:.*}")
@route("DELETE", "/secrets/{rest:.*}")
@route("GET", "/configs")
@route("GET", "/configs/{rest:.*}")
@route("POST", "/configs/{rest:.*}")
@route("DELETE", "/configs/{rest:.*}")
async def not_a_manager(request: Request) -> Response:
    """503, as from any node outside a swarm."""
    raise Unavailable(_NOT_A_MANAGER)


@route("POST", "/swarm/leave")
@route("POST", "/swarm/unlock")
async def not_a_member(request: Request) -> Response:
    """503, as from any node outside a swarm."""
    raise Unavailable("This node is not part of a swarm")


@route("POST", "/swarm/init")
@route("POST", "/swarm/join")
async def no_swarm(request: Request) -> Response:
    """501."""
    raise Unsupported("swarm mode is not part of tiffin; use Compose on one machine, or an orchestrator of its own")


@route("GET", "/plugins")
async def plugins(request: Request) -> Response:
    """None are installed."""
    return response.json([])


@route("GET", "/plugins/privileges")
@route("POST", "/plugins/pull")
@route("POST", "/plugins/create")
async def no_plugins(request: Request) -> Response:
    """501."""
    raise Unsupported("managed plugins are not part of tiffin")


@route("GET", "/plugins/{name:.*}/json")
@route("DELETE", "/plugins/{name:.*}")
@route("POST", "/plugins/{name:.*}/{verb:enable|disable|set|upgrade|push}")
async def plugin(request: Request) -> Response:
    """404, as there are none."""
    raise NotFound(f'plugin "{request["name"]}" not found')
