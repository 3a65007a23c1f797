"""For tests of packages whose records are worked on by executors."""

import json
from typing import Any

from kdst_batch.executors import Done


class BackwardExecutor:
    """An executor that is this process and takes the last shard first, for tests of what `map_records` feeds.

    Shards and values go through JSON, as between processes. After `die_at` shards it is interrupted.
    """

    workers = 2

    def __init__(self, die_at: int | None = None) -> None:
        self.die_at = die_at

    def map_records(self, factory: Any, shards: Any, _resources: Any) -> Any:
        """Yield the end of every shard."""
        work = factory()
        for n, (index, shard) in enumerate(reversed(list(enumerate(shards)))):
            if n == self.die_at:
                raise KeyboardInterrupt
            value = json.loads(json.dumps(work(json.loads(json.dumps(shard)))))
            yield Done(index, value)

    def close(self) -> None:
        """There is nothing to close."""
