import pytest

from tiffin.build.dockerfile.mounts import Device, Mount, parse_device, parse_mount, split_fields
from tiffin.build.dockerfile.source import DockerfileError


def same(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/a", Mount(target="/a")),
        ("type=bind,src=x,dst=/a,rw", Mount(source="x", target="/a", read_only=False)),
        ("type=bind,from=s,source=x,destination=/a,ro=false", Mount(
            source_stage="s", source="x", target="/a", read_only=False)),
        ("type=cache,target=/c,id=i,sharing=locked,mode=0700,uid=1,gid=2", Mount(
            "cache", target="/c", id="i", sharing="locked", mode=0o700, uid=1, gid=2, read_only=False)),
        ("TYPE=Cache,target=/c,readonly", Mount("cache", target="/c")),
        ("type=tmpfs,target=/t,size=1m", Mount("tmpfs", target="/t", size=1 << 20, read_only=False)),
        ("type=secret,id=s,required,env=T", Mount("secret", id="s", required=True, env="T")),
        ("type=secret,id=s,required=false,mode=0440", Mount("secret", id="s", mode=0o440)),
        ("type=ssh", Mount("ssh")),
        ('type=bind,"source=a,b",target=/x', Mount(source="a,b", target="/x")),
    ],
)  # fmt: skip
def test_a_mount_is_read(text: str, mount: Mount) -> None:
    assert parse_mount(text, same) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bnd,target=/a", 'unsupported mount type "bnd" (did you mean bind?)'),
        ("type=volume", 'unsupported mount type "volume"'),
        ("taget=/a", "unexpected key 'taget' in 'taget=/a' (did you mean target?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("required", "unexpected key 'required' for mount type 'bind'"),
        ("size=1m", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=x", "invalid value for size: x"),
        ("type=cache,sharing=shred", 'unsupported sharing value "shred" (did you mean shared?)'),
        ("ro=maybe", "invalid value for ro: maybe"),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("uid=1,target=/a", 'uid not allowed for "bind" type mounts'),
        ("type=tmpfs,mode=0700", 'mode not allowed for "tmpfs" type mounts'),
        ("type=secret,id=a,from=x", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("sharing=shared", "invalid cache sharing set for bind mount"),
    ],
)
def test_a_wrong_mount_is_told(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_mount(text, same)
    assert str(caught.value) == message


def test_values_are_expanded_keys_are_not() -> None:
    assert parse_mount("target=X,id=X", lambda text: text.replace("X", "/y")).target == "/y"


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("v.com/d=x", Device("v.com/d=x")),
        ("v.com/d", Device("v.com/d")),
        ("name=v.com/d=x,required", Device("v.com/d=x", True)),
        ("v.com/d=x,required=false", Device("v.com/d=x")),
    ],
)
def test_a_device_is_read(text: str, device: Device) -> None:
    assert parse_device(text) == device


def test_fields_may_be_quoted() -> None:
    assert split_fields('a,"b,""c""",,') == ["a", 'b,"c"', "", ""]
    with pytest.raises(DockerfileError, match='bare " in non-quoted field'):
        split_fields('a"b')
    with pytest.raises(DockerfileError, match="extraneous or missing"):
        split_fields('"a"b')
