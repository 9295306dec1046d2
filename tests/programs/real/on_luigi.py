"""luigi: tasks in two workers, of which one fails."""

from pathlib import Path

import luigi


class Part(luigi.Task):
    number = luigi.IntParameter()

    def output(self):
        return luigi.LocalTarget(f"part{self.number}.txt")

    def run(self):
        if self.number == 3:
            raise RuntimeError("the third")
        with self.output().open("w") as file:
            file.write(str(self.number))


class Whole(luigi.Task):
    def requires(self):
        return [Part(number) for number in range(6)]

    def output(self):
        return luigi.LocalTarget("whole.txt")


if __name__ == "__main__":
    result = luigi.build(
        [Whole()], workers=2, local_scheduler=True, detailed_summary=True, log_level="CRITICAL"
    )
    print(result.summary_text)
    print([Path(f"part{number}.txt").read_text() for number in (0, 1, 2, 4, 5)])
