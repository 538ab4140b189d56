"""Go templates. Every expectation was read off the stock docker command line, `docker inspect --format`."""

from __future__ import annotations

import pytest

from tiffin.cli.template import TemplateError, parse, render
from tiffin.cli.template_values import mark

CONTAINER = mark(
    {
        "Name": "/c1",
        "Created": "2026-11-23T06:13:06.131682187Z",
        "State": {"Status": "running", "Running": True, "Pid": 7, "ExitCode": 0},
        "Config": {"Cmd": ["sleep", "100"], "Labels": {"a": "b", "foo": "bar"}, "Env": None, "Image": "busybox"},
        "HostConfig": {"Memory": 0, "Binds": None, "PidsLimit": None, "LogConfig": {"Type": "json-file", "Config": {}}},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": None}},
        "Mounts": [],
    }
)


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("{{.Name}}", "/c1"),
        ("{{.State.Running}} {{.State.Pid}} {{.HostConfig.Memory}}", "true 7 0"),
        ("{{.Config.Labels}}", "map[a:b foo:bar]"),
        ("{{.Config.Labels.zz}}", "<no value>"),
        ('{{index .Config.Labels "zz"}}', ""),
        ("{{.Config.Cmd}}", "[sleep 100]"),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{0.0.0.0 8080}] 81/tcp:<nil>]"),
        ("{{.HostConfig.LogConfig}} {{.HostConfig.PidsLimit}} {{.Mounts}}", "{json-file map[]} <nil> []"),
        ("{{.Config.Env}}{{.HostConfig.Binds}}{{.Config.Healthcheck}}{{.State.Health}}", "[][]<nil><nil>"),
        ("{{json .Config.Labels}} {{json .Config.Cmd}}", '{"a":"b","foo":"bar"} ["sleep","100"]'),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", "a=b foo=bar "),
        ("{{range $i, $e := .Config.Cmd}}{{if $i}},{{end}}{{$e}}{{end}}", "sleep,100"),
        ("{{range .Config.Cmd}}{{.}};{{else}}none{{end}}", "sleep;100;"),
        ("{{range .Mounts}}x{{else}}none{{end}}", "none"),
        ("{{range .Config.Cmd}}{{.}}{{break}}{{end}}", "sleep"),
        ("{{range .Config.Cmd}}{{continue}}{{.}}{{end}}", ""),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ('{{if eq .Name "a" "/c1"}}y{{else if true}}n{{end}}', "y"),
        ("{{if .Mounts}}a{{else if .Config.Cmd}}b{{else}}c{{end}}", "b"),
        ("{{with .Config}}{{.Image}}{{$.Name}}{{end}}", "busybox/c1"),
        ("{{with .Config.Env}}a{{else}}b{{end}}", "b"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "/c1"),
        ("{{$a := 1}}{{$a = 2}}{{$a}}", "2"),
        ('{{define "T"}}[{{.}}]{{end}}{{template "T" .Name}}', "[/c1]"),
        ('{{block "B" .Name}}<{{.}}>{{end}}', "</c1>"),
        ('a {{- "b" -}} c', "abc"),
        ("x {{- /* c */ -}} y", "xy"),
        ("{{/* c */}}x", "x"),
        ("{{and 1 0}}{{or 0 `x`}}{{not true}}", "0xfalse"),
        ("{{and 1 2 3}} {{or 0 false}}", "3 false"),
        ("{{eq 1 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 2 1}}", "true true true true false true"),
        ('{{len .Config.Cmd}} {{len "äx"}} {{len .Config.Labels}}', "2 3 2"),
        ('{{slice "abcdef" 1 3}} {{slice .Config.Cmd 1}}', "bc [100]"),
        ('{{join .Config.Cmd ","}} {{split "a b" " "}}', "sleep,100 [a b]"),
        ('{{title "abc def"}} {{upper "a"}} {{lower "A"}} {{truncate "abcdef" 3}}', "Abc Def A a abc"),
        ('{{pad "x" 2 1}}|', "  x |"),
        ('{{.Name | upper | printf "%s!"}} {{"a" | printf "%s-%s" "b"}}', "/C1! b-a"),
        ('{{printf "%5d|%-5s|%05.1f|%x|%t|%T" 3 "a" 2.25 255 true "s"}}', "    3|a    |002.2|ff|true|string"),
        ('{{printf "%d"}} {{printf "x" 1}} {{printf "%d" "a"}}', "%!d(MISSING) x%!(EXTRA int=1) %!d(string=a)"),
        ('{{printf "%q %v" "a\\"b" .Config.Cmd}}', '"a\\"b" [sleep 100]'),
        ('{{print 1 2 "a" "b" 3}}', "1 2ab3"),
        ('{{println "x" 1 2.5 true nil}}', "x 1 2.5 true <nil>\n"),
        ('{{html "<a>"}}{{js "\'"}}{{urlquery "a b&"}}', "&lt;a&gt;\\'a+b%26"),
        ("{{1.5}} {{0x10}} {{'a'}} {{1e3}} {{true}}", "1.5 16 97 1000 true"),
        ('{{"\\t"}}{{`raw\\n`}}', "\traw\\n"),
        ('{{index . "Name"}}', "/c1"),
        ("{{(.Name)}}", "/c1"),
    ],
)
def test_templates_print_what_docker_prints(template: str, output: str) -> None:
    assert render(parse(template), CONTAINER) == output


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{.Foo}}", ':1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        ("{{.State.Foo}}", ':1:8: executing "" at <.State.Foo>: map has no entry for key "Foo"'),
        ("{{.State.Pid.x}}", ':1:8: executing "" at <.State.Pid.x>: can\'t evaluate field x in type interface {}'),
        ("{{.State.Status `x`}}", ':1:8: executing "" at <.State.Status>: Status is not a method but has arguments'),
        (
            "{{index .Config.Cmd 9}}",
            ':1:2: executing "" at <index .Config.Cmd 9>: error calling index: index out of range: 9',
        ),
        ('{{lt 1 "a"}}', ':1:2: executing "" at <lt 1 "a">: error calling lt: incompatible types for comparison'),
        ('{{template "x"}}', ':1:11: executing "" at <{{template "x"}}>: template "x" not defined'),
        ("{{.Name", ":1: unclosed action"),
        ("{{", ":1: unclosed action"),
        ("a\n{{.Name", ":2: unclosed action"),
        ("{{range .Config.Cmd}}x", ":1: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{else}}", ":1: unexpected {{else}}"),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{if}}x{{end}}", ":1: missing value for if"),
        ("{{foo .}}", ':1: function "foo" not defined'),
        ("{{$x}}", ':1: undefined variable "$x"'),
        ('{{"abc}}', ":1: unterminated quoted string"),
        ("{{#}}", ':1: unexpected "#" in command'),
        ("{{nil}}", ':1:2: executing "" at <nil>: nil is not a command'),
        ("{{true.x}}", ':1: unexpected . after term "true"'),
        ("{{.Name )}}", ":1: unexpected right paren"),
    ],
)
def test_mistakes_are_named_as_go_names_them(template: str, error: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(parse(template), CONTAINER)
    assert str(caught.value) == f"template: {error}"
