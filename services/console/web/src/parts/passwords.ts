/** Passwords that are made here. */

/* no letters and digits that are taken for one another */
const LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const GROUPS = 5;
const GROUP = 5;

/** Return a new password of 25 random characters (145 bits) in groups of five. */
export function newPassword(): string {
  const letters: string[] = [];
  while (letters.length < GROUPS * GROUP)
    for (const byte of crypto.getRandomValues(new Uint8Array(64))) {
      /* what is above the last multiple would prefer the first letters */
      const isFair = byte < 256 - (256 % LETTERS.length);
      if (isFair && letters.length < GROUPS * GROUP)
        letters.push(LETTERS[byte % LETTERS.length] as string);
    }
  return Array.from({ length: GROUPS }, (_, group) =>
    letters.slice(group * GROUP, (group + 1) * GROUP).join(""),
  ).join("-");
}
