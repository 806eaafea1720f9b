import type { Call } from "../api/call";
import { answer, type Schemas, tagged } from "../api/client";
import { useOne } from "../api/queries";
import { CopyAs } from "./copy-as";
import { Edit } from "./edit";
import type { EditedField } from "./edits";
import { ManagedFields, type Mark } from "./managed";
import { Failure, Loading } from "./notices";
import { Facts, Section } from "./page";

type Policy = Schemas["FilterPolicyDocument"];
type Effective = Schemas["EffectiveFilterPolicyView"];
type Origin = Effective["origins"][number];

const FIELDS: readonly EditedField[] = [
  {
    name: "spam_action",
    label: "Spam",
    kind: "choice",
    options: [
      ["", "as the level above says"],
      ["mark", "mark it, and deliver it to the inbox"],
      ["junk", "file it in Junk"],
      ["quarantine", "withhold it in the quarantine"],
    ],
  },
  {
    name: "junk_score",
    label: "Points from which a message is spam",
    kind: "number",
    hint: "Empty: as the level above says.",
  },
  {
    name: "refuse_score",
    label: "Points from which a message is refused",
    kind: "number",
    hint: "Empty: as the level above says.",
  },
  {
    name: "virus_action",
    label: "A virus",
    kind: "choice",
    options: [
      ["", "as the level above says"],
      ["refuse", "refuse the message"],
      ["quarantine", "withhold it in the quarantine"],
    ],
  },
  { name: "enforce_dmarc", label: "Apply the sender domain's DMARC policy", kind: "switch" },
  { name: "refuse_listed", label: "Refuse clients that a blocklist holds", kind: "switch" },
  { name: "greylist", label: "Ask suspicious unknown clients to come again", kind: "switch" },
  {
    name: "protect_known",
    label: "Known correspondents reach the inbox whatever their points",
    kind: "switch",
  },
  { name: "digest", label: "Send a daily digest of Junk and quarantine", kind: "switch" },
];

/** What the filters do with mail of an account or a domain, and which level decides it. */
export function FilterPolicy(properties: {
  /** What it belongs to, in the keys of what was asked. */
  owner: string;
  /** Of the owner: it is a field of its configuration. */
  mark?: Mark;
  stored: () => Call<Policy>;
  effective: () => Call<Effective>;
  save: ((policy: Policy, tag: string | null) => Call) | false;
}) {
  const { owner, mark, stored, effective, save } = properties;
  const ask = () => tagged(stored());
  const read = useOne(["filter-policy", owner], ask);
  const holds = useOne(["filter-policy", owner, "effective"], () => answer(effective()));
  return (
    <>
      <Section title="In force" actions={<CopyAs calls={() => [effective()]} />}>
        {holds.isPending && <Loading />}
        <Failure problem={holds.error} />
        {holds.data && <Facts facts={factsOf(holds.data.origins)} />}
      </Section>
      {save && (
        <Section title="Set at this level">
          <Failure problem={read.error} />
          {mark?.fields.includes("filter_policy") && <ManagedFields mark={mark} all />}
          {read.data && (
            <Edit
              fields={FIELDS}
              read={read.data}
              ask={ask}
              save={(change, tag) => save({ ...read.data?.value, ...change }, tag)}
              changes={["filter-policy"]}
              said="Mail that arrives from now on is filtered so"
            />
          )}
        </Section>
      )}
    </>
  );
}

const NAMES = new Map(FIELDS.map(({ name, label }) => [name, label]));

function factsOf(origins: readonly Origin[]): (readonly [string, string])[] {
  return origins
    .filter(({ field }) => NAMES.has(field))
    .map(({ field, source, value }) => {
      const shown = typeof value === "boolean" ? (value ? "on" : "off") : String(value);
      return [NAMES.get(field) ?? field, `${shown} (${source})`] as const;
    });
}
