"""How often each kind of thing was tried, so that nothing is silently never tried."""


class Counts:
    def __init__(self):
        self.groups = {}

    def expect(self, group, kinds):
        for kind in kinds:
            self.groups.setdefault(group, {}).setdefault(kind, 0)

    def add(self, group, kind, times=1):
        kinds = self.groups.setdefault(group, {})
        kinds[kind] = kinds.get(kind, 0) + times

    def report(self):
        for group, kinds in self.groups.items():
            yield f"{group}: " + ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items(), key=lambda k: -k[1]) if times)
        never = [f"{kind} ({group})" for group, kinds in self.groups.items() for kind, times in kinds.items() if not times]
        yield "never tried: " + (", ".join(never) or "nothing")
