import type { Schemas } from "../../api/client";
import type { List } from "../../api/queries";
import { count } from "../moments";
import { Command } from "../notices";
import { Section } from "../page";
import { State } from "../state";
import { type Column, DataTable } from "../table";
import { Time } from "../time";

export type SignIn = Schemas["SignInView"];

const COLUMNS: readonly Column<SignIn>[] = [
  { id: "last", title: "Last", cell: (each) => <Time at={each.last_at} /> },
  {
    id: "result",
    title: "Result",
    cell: (each) => <State kind={each.result === "accepted" ? "good" : "bad"}>{each.result}</State>,
  },
  { id: "protocol", title: "By", cell: (each) => each.protocol },
  { id: "address", title: "From", cell: (each) => each.address },
  {
    id: "password",
    title: "Password",
    cell: (each) =>
      each.app_password === null ? "the account's own" : (each.app_password_name ?? "deleted"),
  },
  { id: "attempts", title: "Times", end: true, cell: (each) => count(each.attempts) },
];

/** Who signed in to an account within 30 days, or tried to; a row for a day, a client and a
 * result. */
export function SignIns({ list, command }: { list: List<SignIn>; command: string }) {
  return (
    <Section title="Sign-ins of 30 days">
      <DataTable
        caption="Sign-ins"
        columns={COLUMNS}
        list={list}
        rowKey={(each) => Object.values(each).join(" ")}
        empty={
          <>
            <p className="weak">Nobody signed in.</p>
            <Command text={command} />
          </>
        }
      />
    </Section>
  );
}
