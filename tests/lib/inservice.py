"""A node in service: `mode = "production"`, started by its warden alone, as an init system starts it, as the first process
of a pid namespace of its own. What ends that namespace is what would start the machine again (reboot(2))."""

import os
import subprocess

from node import PROGRAMS, Failed, Node, check, wait_for

USERS = {"keeper": 61_011, "control": 61_012, "gateway": 61_013, "relay": 61_014}


class InService(Node):
    """As a `Node`, but for how it begins and ends."""

    def __init__(self, more="", programs=PROGRAMS):
        super().__init__()
        os.makedirs(self.state, mode=0o711)
        self.config = os.path.join(self.state, "strongroom.toml")
        users = "".join(f"{name} = {uid}\n" for name, uid in USERS.items())
        with open(self.config, "w") as file:
            file.write(
                f'version = 1\nmode = "production"\nnode = "serving"\nstate = "{self.state}"\nprograms = "{programs}"\n'
                f'[users]\n{users}operator = {os.getuid()}\n[gateway]\nlisten = "127.0.0.1:0"\n'
                f"[jobs]\nallow_host_image = true\n{more}"
            )
        keys = os.path.join(self.state, "keeper")
        os.mkdir(keys, 0o700)
        os.chown(keys, USERS["keeper"], USERS["keeper"])
        as_keeper = ["setpriv", f"--reuid={USERS['keeper']}", f"--regid={USERS['keeper']}", "--clear-groups"]
        keeper = os.path.join(self.work, "strongroom-keeper")
        # A checkout may lie where that user cannot go.
        with open(os.path.join(programs, "strongroom-keeper"), "rb") as program, open(keeper, "wb") as copy:
            copy.write(program.read())
        os.chmod(keeper, 0o755)
        done = subprocess.run(
            [*as_keeper, keeper, "--config", self.config, "--init"], capture_output=True, text=True, check=False
        )
        check(done.returncode == 0, f"no keys were made: {done.stderr}")
        self.programs = programs

    def start(self):
        with open(self.path("dev.log"), "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", os.path.join(self.programs, "strongroom-warden"), "--config", self.config],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

        def up():
            check(self.process.poll() is None, f"the node ended at its start with {self.process.poll()}:\n" + self.said())
            return self.answers()

        wait_for("the node in service answers", up, 60, 0.1)
        told = self.ok("status")
        # The log's key is that of the first start, whatever a later one says.
        self.ready = {"log_key": told["log_key"], **self.ready, "gateway_ca": told["gateway_ca"]}

    def first(self):
        """The first process of the namespace: the warden."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as text:
            return int(text.read().split()[0])

    def ended(self, seconds=90):
        """How it ended: an exit status, or less than 0 a signal."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise Failed(f"the node did not end within {seconds} s") from None

    def stop(self):
        """In order, as an init system does."""
        if self.process and self.process.poll() is None:
            os.kill(self.first(), 15)
            check(self.ended() == 0, f"ended with {self.process.returncode}: {self.said()}")

    def kill_all(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        try:
            if self.process and self.process.poll() is None:
                self.stop()
        finally:
            self.process = None
            super().close()
