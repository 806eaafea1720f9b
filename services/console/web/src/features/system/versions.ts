/** Versions of the parts side by side. */

interface Process {
  part: string;
  version: string;
}

export interface PartVersions {
  part: string;
  /** How many processes run each of the versions, in their order. */
  numbers: readonly number[];
}

/** Return the versions that run, and for each part how many processes run which. */
export function sideBySide(processes: readonly Process[]): {
  versions: string[];
  parts: PartVersions[];
} {
  const versions = [...new Set(processes.map(({ version }) => version))].sort();
  const parts = [...new Set(processes.map(({ part }) => part))].sort();
  const number = (part: string, version: string) =>
    processes.filter((each) => each.part === part && each.version === version).length;
  return {
    versions,
    parts: parts.map((part) => ({ part, numbers: versions.map((each) => number(part, each)) })),
  };
}
