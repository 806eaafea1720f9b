import { api, only } from "../../api/client";
import { useCan } from "../../api/me";
import { FilterPolicy } from "../../parts/filter-policy";
import type { Mark } from "../../parts/managed";

/** What the filters do with mail of a domain's accounts. */
export function Filter({ name, mark }: { name: string; mark: Mark }) {
  const can = useCan();
  const path = { name };
  return (
    <FilterPolicy
      owner={name}
      mark={mark}
      stored={() => api.GET("/v1/domains/{name}/filter-policy", { params: { path } })}
      effective={() => api.GET("/v1/domains/{name}/filter-policy/effective", { params: { path } })}
      save={
        can("setDomainFilterPolicy") &&
        ((body, tag) =>
          api.PUT("/v1/domains/{name}/filter-policy", {
            params: { path, header: only(tag) },
            body,
          }))
      }
    />
  );
}
