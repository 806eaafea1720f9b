/** Filters of a list, as they stand in the address. What is not valid there is undefined in what
 * these functions return: the router keeps what is left out. */
export type Search = Readonly<Record<string, unknown>>;

/** Return the named texts of an address; an empty text is none. A number was written as a text. */
export function textsIn<Name extends string>(
  search: Search,
  names: readonly Name[],
): { [name in Name]?: string } {
  const found: Record<string, string | undefined> = {};
  for (const name of names) {
    const value = search[name];
    const isText = typeof value === "number" || typeof value === "string";
    found[name] = (isText && String(value).trim()) || undefined;
  }
  return found as { [name in Name]?: string };
}

/** Return a choice of an address as an object with one member, or without it. */
export function choiceIn<Name extends string, Value extends string>(
  search: Search,
  name: Name,
  options: readonly Value[],
): { [name in Name]?: Value } {
  const value = options.find((each) => each === search[name]);
  return { [name]: value } as { [name in Name]?: Value };
}

/** Which dialog for new objects is open, as it stands in the address. */
export function creationIn(search: Search): { create?: true; import?: true } {
  const isCreation = search.create === true;
  const opened = {
    create: isCreation || undefined,
    import: (!isCreation && search.import === true) || undefined,
  };
  return opened as { create?: true; import?: true };
}
