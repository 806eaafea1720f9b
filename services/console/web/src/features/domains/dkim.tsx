import { useState } from "react";
import { answer, api, once, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useOne } from "../../api/queries";
import { Copy } from "../../parts/copy";
import { CopyAs } from "../../parts/copy-as";
import { Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { Empty, Failure, Loading } from "../../parts/notices";
import { Section } from "../../parts/page";
import { type Kind, State } from "../../parts/state";
import { Time } from "../../parts/time";
import { plannedDates } from "./rotation";

type Key = Schemas["DkimKeyView"];

const MARKS: Readonly<Record<Key["state"], Kind>> = {
  pending: "busy",
  signing: "good",
  retired: "idle",
};

/** The keys that sign a domain's mail, with their dates, and their rotation. */
export function DkimKeys({ name }: { name: string }) {
  const can = useCan();
  const [isAsked, setIsAsked] = useState(false);
  const keys = useOne(["dkim", name], () =>
    answer(api.GET("/v1/domains/{name}/dkim", { params: { path: { name } } })),
  );
  if (keys.data === undefined)
    return keys.isPending ? <Loading /> : <Failure problem={keys.error} />;
  return (
    <Section
      title="DKIM keys"
      actions={
        <>
          <CopyAs
            calls={() => [api.GET("/v1/domains/{name}/dkim", { params: { path: { name } } })]}
          />
          {can("rotateDkimKeys") && (
            <button type="button" className="primary" onClick={() => setIsAsked(true)}>
              Rotate keys…
            </button>
          )}
        </>
      }
    >
      {keys.data.keys.length === 0 ? (
        <Empty title="No key" command={`posthorn dkim rotate ${name}`}>
          <p>Without a key, mail of this domain is not signed.</p>
        </Empty>
      ) : (
        <ul className="records">
          {keys.data.keys.map((key) => (
            <KeyRecord key={key.id} value={key} />
          ))}
        </ul>
      )}
      {isAsked && <Rotation name={name} close={() => setIsAsked(false)} />}
    </Section>
  );
}

function KeyRecord({ value }: { value: Key }) {
  return (
    <li className="record">
      <p className="record-head">
        <strong>{value.selector}</strong> <span className="tag">{value.algorithm}</span>{" "}
        <State kind={MARKS[value.state]}>{value.state}</State>
      </p>
      <p>
        Signs from <Time at={value.signs_from} />
        {value.signs_until && (
          <>
            {" "}
            until <Time at={value.signs_until} />
          </>
        )}
        {value.published_until && (
          <>
            ; its record must stay published until <Time at={value.published_until} />
          </>
        )}
      </p>
      <p>
        <code>{value.dns.name}</code> <Copy text={value.dns.name} what="name of the record" />
      </p>
      <p>
        <code>{value.dns.value}</code> <Copy text={value.dns.value} what="value of the record" />
      </p>
    </li>
  );
}

function Rotation({ name, close }: { name: string; close: () => void }) {
  const [delay, setDelay] = useState("1");
  const [overlap, setOverlap] = useState("7");
  const dates = plannedDates(Date.now(), Number(delay), Number(overlap));
  const rotate = useAction(
    (key: string) =>
      api.POST("/v1/domains/{name}/dkim/rotate", {
        params: { path: { name } },
        body: {
          selector: "ph",
          delay_seconds: Number(delay) * 86_400,
          overlap_seconds: Number(overlap) * 86_400,
        },
        headers: once(key),
      }),
    {
      changes: ["dkim", "domains"],
      said: () => "Publish the records of the new keys now",
      done: close,
    },
  );
  return (
    <Dialog title="Rotate DKIM keys" close={close}>
      <Form action={rotate} read={(_, key) => key} label="Create new keys" cancel={close}>
        <Field
          name="delay_seconds"
          label="Days until the new keys sign"
          type="number"
          min={0}
          step="any"
          value={delay}
          onChange={(event) => setDelay(event.target.value)}
          problem={rotate.error}
          hint="Long enough for you to publish their records."
          required
        />
        <Field
          name="overlap_seconds"
          label="Days that the old records stay published after that"
          type="number"
          min={0}
          step="any"
          value={overlap}
          onChange={(event) => setOverlap(event.target.value)}
          problem={rotate.error}
          hint="Long enough for mail that is on its way."
          required
        />
        {dates && (
          <ol className="checklist">
            <li>Now: publish the records of the new keys, which the next page shows.</li>
            <li>
              <Time at={dates.signs} />: the new keys sign, and the old ones no longer.
            </li>
            <li>
              <Time at={dates.gone} />: the records of the old keys may go.
            </li>
          </ol>
        )}
      </Form>
    </Dialog>
  );
}
