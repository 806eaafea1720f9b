import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "../../api/client";
import { useCan } from "../../api/me";
import { useList, useOne } from "../../api/queries";
import { CopyAs } from "../../parts/copy-as";
import { size } from "../../parts/moments";
import { Failure, Loading } from "../../parts/notices";
import { Facts, Page, Section } from "../../parts/page";
import { PointsNote, Reason } from "../../parts/reasons";
import { DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { Verdict } from "../../parts/verdict";
import type { Copy } from "./reasons";
import { Releases } from "./releases";

const route = getRouteApi("/quarantine/$id");
const SHOWN_CHARACTERS = 20_000;

/** A withheld copy: why, its text, and the copies for its other recipients. */
export function QuarantinedCopy() {
  const { id } = route.useParams();
  const can = useCan();
  const copy = useOne(["quarantine", "one", id], () =>
    answer(api.GET("/v1/quarantine/{id}", { params: { path: { id } } })),
  );
  if (copy.data === undefined)
    return (
      <Page title="Withheld message">
        {copy.isPending ? <Loading /> : <Failure problem={copy.error} />}
      </Page>
    );
  const value = copy.data;
  return (
    <Page
      title="Withheld message"
      actions={
        <CopyAs calls={() => [api.GET("/v1/quarantine/{id}", { params: { path: { id } } })]} />
      }
    >
      <Facts
        facts={[
          ["Subject", value.subject || "(no subject)"],
          ["From", value.from],
          ["Reverse-path", value.reverse_path || "<>"],
          ["To", value.recipient],
          ["Reason", <Reason key="reason" reason={value.reason} isExplained />],
          ["Why", value.detail],
          ["Points", value.score],
          ["Size", size(value.size)],
          ["Withheld", <Time key="created" at={value.created_at} />],
          ["Deleted", <Time key="expires" at={value.expires_at} />],
          [
            "Message",
            <Link key="message" to="/messages/$id" params={{ id: value.message }}>
              Timeline
            </Link>,
          ],
        ]}
      />
      {value.verdict && (
        <Section title="Verdict">
          <Verdict verdict={value.verdict} />
          <PointsNote />
        </Section>
      )}
      <Recipients copy={value} />
      {can("getRawQuarantined") && <Text id={id} />}
    </Page>
  );
}

function Recipients({ copy }: { copy: Copy }) {
  const navigate = useNavigate();
  const [ticked, setTicked] = useState<ReadonlySet<string>>(new Set([copy.id]));
  const list = useList<Copy>(["quarantine", "message", copy.message], (cursor) =>
    api.GET("/v1/quarantine", {
      params: { query: { message: copy.message, limit: 100, cursor } },
    }),
  );
  return (
    <Section title="Recipients">
      <Releases ids={[...ticked]} done={() => void navigate({ to: "/quarantine" })} />
      <DataTable
        caption="Copies of the message"
        columns={[
          { id: "recipient", title: "Recipient", cell: (each) => each.recipient },
          { id: "account", title: "Account", cell: (each) => each.account ?? "an alias elsewhere" },
          { id: "reason", title: "Reason", cell: (each) => <Reason reason={each.reason} /> },
        ]}
        list={list}
        rowKey={(each) => each.id}
        ticks={{ ticked, change: setTicked }}
        empty={<p className="weak">No copy is left.</p>}
      />
    </Section>
  );
}

/** The message as a text: nothing in it is run, shown as markup, or loaded. */
function Text({ id }: { id: string }) {
  const [isShown, setIsShown] = useState(false);
  const raw = useOne(
    ["quarantine", "raw", id],
    () =>
      answer(
        api.GET("/v1/quarantine/{id}/raw", { params: { path: { id } }, parseAs: "text" }),
      ) as Promise<unknown> as Promise<string>,
    { enabled: isShown },
  );
  return (
    <Section
      title="Content"
      actions={
        !isShown && (
          <button type="button" onClick={() => setIsShown(true)}>
            Show the text
          </button>
        )
      }
    >
      {!isShown && <p className="weak">Each use of this is shown to the account's owner.</p>}
      <Failure problem={raw.error} />
      {raw.data !== undefined && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys
        <pre className="json" tabIndex={0} dir="auto">
          {raw.data.slice(0, SHOWN_CHARACTERS)}
          {raw.data.length > SHOWN_CHARACTERS && "\n…"}
        </pre>
      )}
    </Section>
  );
}
