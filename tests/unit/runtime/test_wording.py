from tiffin.runtime.wording import exec_failure, start_failure


def test_a_missing_program_reads_as_docker_says_it() -> None:
    assert start_failure("exec", 2, "nope", "executable file not found in $PATH") == (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create "
        'failed: unable to start container process: error during container init: exec: "nope": executable file not '
        "found in $PATH"
    )
    assert exec_failure("exec", 13, "/x", "permission denied") == (
        'OCI runtime exec failed: exec failed: unable to start container process: exec: "/x": permission denied'
    )


def test_the_words_of_another_runtime_are_its_own() -> None:
    assert start_failure("runtime", 0, "", "it broke").endswith("OCI runtime create failed: it broke")
