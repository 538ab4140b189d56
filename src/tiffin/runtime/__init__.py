"""Plans and the processes that execute them: forkserver, monitor, stage."""
