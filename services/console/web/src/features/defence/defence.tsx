import { answer, api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { CopyAs } from "../../parts/copy-as";
import { count } from "../../parts/moments";
import { Failure, Loading, Notice } from "../../parts/notices";
import { Facts, Page, Section } from "../../parts/page";
import { State } from "../../parts/state";

/** The scanning tier: its engines and blocklists, and where this system itself is listed. */
export function Defence() {
  const can = useCan();
  const defence = useOne(["defence"], () => answer(api.GET("/v1/defence")), { every: 30 });
  return (
    <Page title="Defence" actions={<CopyAs calls={() => [api.GET("/v1/defence")]} />}>
      {defence.isPending && <Loading />}
      <Failure problem={defence.error} />
      {defence.data && <Scanning defence={defence.data} />}
      {can("getListings") && <Listings />}
    </Page>
  );
}

function Scanning({ defence }: { defence: Schemas["DefenceView"] }) {
  return (
    <>
      <Notice
        kind={defence.scanning ? "good" : "idle"}
        title={defence.scanning ? "Incoming mail is scanned" : "Incoming mail is not scanned"}
      >
        {defence.detail}
      </Notice>
      <Facts
        facts={[
          [
            "Messages that wait for a scan",
            defence.unscanned === null ? "unknown" : count(defence.unscanned),
          ],
          [
            "Resolver",
            defence.resolver_up === null ? "unknown" : <Up key="up" isUp={defence.resolver_up} />,
          ],
        ]}
      />
      {defence.engines.length > 0 && (
        <Section title="Engines">
          <ul>
            {defence.engines.map((engine) => (
              <li key={engine.name}>
                {engine.name} <Up isUp={engine.up} /> {engine.detail}
              </li>
            ))}
          </ul>
        </Section>
      )}
      {defence.zones.length > 0 && (
        <Section title="Blocklists">
          <Zones zones={defence.zones} />
        </Section>
      )}
    </>
  );
}

function Listings() {
  const listings = useOne(["listings"], () => answer(api.GET("/v1/defence/listings")));
  return (
    <Section title="Where this system is listed">
      {listings.isPending && <Loading />}
      <Failure problem={listings.error} />
      {listings.data && (
        <>
          {listings.data.listings.length === 0 ? (
            <State kind="good">on no list</State>
          ) : (
            <ul>
              {listings.data.listings.map((listing) => (
                <li key={`${listing.zone} ${listing.subject}`}>
                  <State kind="bad">listed</State> {listing.subject} in {listing.zone}:{" "}
                  {listing.reason || listing.code}
                </li>
              ))}
            </ul>
          )}
          <p className="weak">
            Looked up:{" "}
            {[...listings.data.addresses, ...listings.data.domains].join(", ") || "nothing"}
          </p>
          <Zones zones={listings.data.zones} />
        </>
      )}
    </Section>
  );
}

function Zones({ zones }: { zones: readonly Schemas["ZoneView"][] }) {
  return (
    <ul>
      {zones.map((zone) => (
        <li key={zone.zone}>
          {zone.zone} <Up isUp={zone.healthy} /> {zone.detail}
        </li>
      ))}
    </ul>
  );
}

function Up({ isUp }: { isUp: boolean }) {
  return <State kind={isUp ? "good" : "bad"}>{isUp ? "works" : "does not work"}</State>;
}
