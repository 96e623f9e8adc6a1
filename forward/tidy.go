package forward

import "slices"

// nobody stands in the place of a number of a server or service.
const nobody int32 = -1

// serviceNumber is the number of a service that comes, with the servers that it has left there
// when it was removed, and that of its bypass.
func (f *Forwarder) serviceNumber(k ServiceKey) (id int32, members []int32, around int32) {
	id, around = int32(slices.IndexFunc(f.services, func(s service) bool { return s.gone && s.Key == k })), nobody
	if n := len(f.spare.services); id >= 0 {
		members, around = f.services[id].members, f.services[id].bypass
	} else if n > 0 {
		id, f.spare.services = f.spare.services[n-1], f.spare.services[:n-1]
	} else {
		id = int32(len(f.services))
		f.services = append(f.services, service{})
	}
	if k.Mark != 0 && around == nobody {
		around = f.newServer(server{Server: Server{Method: bypass}, service: id, present: true})
	}
	return id, members, around
}

// newServer gives a server its number.
func (f *Forwarder) newServer(rs server) (id int32) {
	if n := len(f.spare.servers); n > 0 {
		id, f.spare.servers = f.spare.servers[n-1], f.spare.servers[:n-1]
		f.servers[id] = rs
		return id
	}
	f.servers = append(f.servers, rs)
	return int32(len(f.servers) - 1)
}

// Tidy takes the numbers of all servers and services that were removed and that nothing needs any
// more, so that others get them: a director that is reloaded for years does not grow. The forwarders
// must have been told the same from the beginning, for a number to mean the same in all of
// them: it is taken where none of them has a connection left.
func Tidy(list ...*Forwarder) {
	for id := range int32(len(list[0].servers)) {
		if slices.ContainsFunc(list, func(f *Forwarder) bool { return !f.idle(id) }) {
			continue
		}
		for _, f := range list {
			f.forget(id)
		}
	}
	for _, f := range list {
		for i := range f.services {
			if svc := &f.services[i]; svc.gone && svc.sched != nil && len(svc.members) == 0 && svc.bypass == nobody {
				*svc = service{gone: true, bypass: nobody}
				f.spare.services = append(f.spare.services, int32(i))
			}
		}
	}
}

// idle tells whether a server is in no list, no entry of the table is its own, and no operator
// has a say about it.
func (f *Forwarder) idle(id int32) bool {
	rs := &f.servers[id]
	if rs.service == nobody {
		return false // already
	}
	in := rs.present && (rs.Method != bypass || !f.services[rs.service].gone)
	return !in && rs.wish == Serve && rs.active+rs.inactive+rs.persist+rs.singles == 0
}

// forget takes a server's number from it and from all that remembers it.
func (f *Forwarder) forget(id int32) {
	rs := &f.servers[id]
	svc := &f.services[rs.service]
	if svc.bypass == id {
		svc.bypass = nobody
	} else {
		delete(f.numbers, member{rs.service, rs.Addr})
		svc.members = slices.DeleteFunc(svc.members, func(m int32) bool { return m == id })
	}
	if s, ok := svc.sched.(interface{ Forget(id int32) }); ok { // one that remembers more than who is in its list
		s.Forget(id)
	}
	f.fragments.forget(id)
	*rs = server{service: nobody}
	f.spare.servers = append(f.spare.servers, id)
}

// all yields the servers of the service, that of its bypass among them.
func (s *service) all(yield func(int32) bool) {
	for _, id := range s.members {
		if !yield(id) {
			return
		}
	}
	if s.bypass != nobody {
		yield(s.bypass)
	}
}
