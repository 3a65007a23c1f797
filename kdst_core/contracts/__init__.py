"""What passes between a bench and a method: frozen requests, and results with shapes and units.

`adapt` is settled: its fields are only ever appended to. The other capabilities are provisional until
their first method ships. torch is needed by type checkers only.
"""

from kdst_core.contracts.adapt import AdaptRequest, Diagnostics, OnlinePredictor
from kdst_core.contracts.edit import (
    ContactSheet,
    Edit,
    EditedImage,
    EditRequest,
    SourcePath,
    TokenAlignment,
)
from kdst_core.contracts.invert import Embedder, Inversion, InvertRequest, Training
from kdst_core.contracts.method import Claim, Description, Listener, RunServices
from kdst_core.contracts.reconstruct import (
    Camera,
    Capture,
    Reconstruction,
    ReconstructRequest,
    Render,
    Scene,
    Splats,
)
from kdst_core.contracts.tools import (
    Document,
    Finetuning,
    Generation,
    Tool,
    ToolAnnotation,
    ToolCall,
    ToolLearner,
    ToolsRequest,
    TrainingStep,
)

__all__ = [
    "AdaptRequest",
    "Camera",
    "Capture",
    "Claim",
    "ContactSheet",
    "Description",
    "Diagnostics",
    "Document",
    "Edit",
    "EditRequest",
    "EditedImage",
    "Embedder",
    "Finetuning",
    "Generation",
    "Inversion",
    "InvertRequest",
    "Listener",
    "OnlinePredictor",
    "ReconstructRequest",
    "Reconstruction",
    "Render",
    "RunServices",
    "Scene",
    "SourcePath",
    "Splats",
    "TokenAlignment",
    "Tool",
    "ToolAnnotation",
    "ToolCall",
    "ToolLearner",
    "ToolsRequest",
    "Training",
    "TrainingStep",
]
