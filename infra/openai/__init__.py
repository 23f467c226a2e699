"""Models behind any endpoint that speaks the OpenAI protocol.

Import it only where one is configured: langchain-openai takes more than a second to load.
"""

from infra.openai.answerer import OpenAIAnswerer, Patience
from infra.openai.client import connections
from infra.openai.embedder import OpenAIEmbedder

__all__ = ["OpenAIAnswerer", "OpenAIEmbedder", "Patience", "connections"]
