/** Where mail for an alias ends up, through the aliases that its targets are. */

export interface End {
  address: string;
  /** The aliases on the way to it, the first one first. */
  by: readonly string[];
  /** Whether it is an alias that the way has passed already. */
  isLoop: boolean;
}

const MOST = 50;

/** Follow the targets of an alias. `targetsOf` answers null for what is no alias. Ends that are
 * reached by several ways are listed once; after fifty aliases nothing more is looked up. */
export async function endsOf(
  alias: string,
  targetsOf: (address: string) => Promise<readonly string[] | null>,
): Promise<End[]> {
  const ends = new Map<string, End>();
  const looked = new Map<string, readonly string[] | null>();
  const look = async (address: string) => {
    if (!looked.has(address) && looked.size < MOST) looked.set(address, await targetsOf(address));
    return looked.get(address) ?? null;
  };
  const follow = async (address: string, by: readonly string[]): Promise<void> => {
    if (by.includes(address)) {
      ends.set(`loop ${address}`, { address, by, isLoop: true });
      return;
    }
    const targets = await look(address);
    if (targets === null) {
      if (!ends.has(address)) ends.set(address, { address, by, isLoop: false });
      return;
    }
    for (const target of targets) await follow(target, [...by, address]);
  };
  await follow(alias, []);
  return [...ends.values()];
}
