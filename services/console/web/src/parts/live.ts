/** Results of actions, told to screen readers and shown for a moment. */
type Listener = () => void;

let current = "";
let number = 0;
const listeners = new Set<Listener>();

export function announce(text: string): void {
  current = text;
  number += 1;
  for (const listener of listeners) listener();
}

export function announced(): string {
  return current;
}

/** How many announcements there were: the same text twice is two. */
export function announcements(): number {
  return number;
}

export function onAnnouncement(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
