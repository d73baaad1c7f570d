from collections.abc import Collection
from typing import final

@final
class TextIndex:
    def __len__(self) -> int: ...
    def add(
        self,
        *,
        commands: Collection[str] = (),
        command_start: Collection[str] = ("/",),
        command_whitespace: bool | str = False,
        prefix: Collection[str] = (),
        suffix: Collection[str] = (),
        fullmatch: Collection[str] = (),
        keywords: Collection[str] = (),
        ignore_case: bool = False,
    ) -> int: ...
    def replace(
        self,
        row: int,
        *,
        commands: Collection[str] = (),
        command_start: Collection[str] = ("/",),
        command_whitespace: bool | str = False,
        prefix: Collection[str] = (),
        suffix: Collection[str] = (),
        fullmatch: Collection[str] = (),
        keywords: Collection[str] = (),
        ignore_case: bool = False,
    ) -> None: ...
    def remove(self, row: int) -> None: ...
    def match(self, text: str) -> list[int]: ...
