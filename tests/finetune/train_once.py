"""A process that fine-tunes once and writes its weights; it may be told to kill itself at a step."""

import json
import os
import signal
import sys

from safetensors.torch import save_file

from embedx.heads.finetune import Augmentation, FineTuneClassifier
from embedx.heads.finetune.training import Training


def main() -> None:
    job, out = json.loads(sys.argv[1]), sys.argv[2]
    parameters = job["parameters"]
    if "augmentation" in parameters:
        parameters["augmentation"] = Augmentation(**parameters["augmentation"])
    Training.checkpoint_seconds = parameters.pop("checkpoint_seconds", 300.0)

    def progress(done, total, **facts):
        if done == job["kill_after"]:
            os.kill(os.getpid(), signal.SIGKILL)

    classifier = FineTuneClassifier(**parameters).fit(job["X"], job["y"], progress=progress)
    if int(os.environ.get("RANK", "0")) == 0:
        save_file({k: v.contiguous() for k, v in classifier.network_.model.state_dict().items()}, out)
        print(json.dumps({"processes": classifier.n_processes_, "epochs": len(classifier.history_)}))


if __name__ == "__main__":
    main()
