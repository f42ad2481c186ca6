"""`make up`: start Voxify on this machine and keep it running until Ctrl-C."""

from __future__ import annotations

import sys
import time

from scripts.stack import Stack, StackError, interruptible
from settings import Settings


def main() -> int:
    interruptible()
    settings = Settings()
    say = lambda line: print(line, flush=True)  # noqa: E731
    begun = time.monotonic()
    say(f"Starting Voxify; everything it keeps is below {settings.data_dir.absolute()}")
    try:
        with Stack(settings, say) as stack:
            say(
                f"\nVoxify is up after {time.monotonic() - begun:.1f} s.\n"
                f"  API        {stack.api_url}/api/v1\n"
                f"  docs       {stack.api_url}/docs\n"
                f"  health     {stack.api_url}/health/ready\n"
                f"  inference  {settings.inference}\n"
                "Ctrl-C stops it. Try it with: make demo\n"
            )
            stack.watch()
    except KeyboardInterrupt:
        say("\nVoxify is stopped.")
    except StackError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
