/** Results of actions, told to screen readers and shown for a moment. */
type Listener = () => void;

let current = "";
let undoing: (() => void) | undefined;
let number = 0;
const listeners = new Set<Listener>();

/** Tell a result; `undo` takes it back, and is offered as long as the text is shown. */
export function announce(text: string, undo?: () => void): void {
  current = text;
  undoing = undo;
  number += 1;
  for (const listener of listeners) listener();
}

export function announced(): string {
  return current;
}

/** What takes the last result back, if anything does. */
export function announcedUndo(): (() => void) | undefined {
  return undoing;
}

/** How many announcements there were: the same text twice is two. */
export function announcements(): number {
  return number;
}

export function onAnnouncement(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
