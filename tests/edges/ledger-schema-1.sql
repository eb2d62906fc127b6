BEGIN TRANSACTION;
CREATE TABLE entries (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at FLOAT NOT NULL, 
	event TEXT NOT NULL, 
	file_id INTEGER, 
	job_id INTEGER, 
	fields TEXT NOT NULL
);
INSERT INTO "entries" VALUES(1,1700000000.0,'batch.claimed',1,NULL,'{"file":"done.yaml","jobs":1}');
INSERT INTO "entries" VALUES(2,1700000000.0,'job.queued',1,1,'{"n":1}');
INSERT INTO "entries" VALUES(3,1700000000.0,'job.export_started',1,1,'{"n":1}');
INSERT INTO "entries" VALUES(4,1700000000.0,'job.exported',1,1,'{"n":1,"project_id":"project1"}');
INSERT INTO "entries" VALUES(5,1700000012.0,'job.downloaded',1,1,'{"n":1,"project_id":"project1","video":"videos/done.mp4","bytes":13,"sha256":"a130d8fc4f84fd459c92dc2597f87a403d45ffb388a7aaff6a9635f02b76ace7"}');
INSERT INTO "entries" VALUES(6,1700000012.0,'batch.settled',1,NULL,'{"file":"done.yaml","outcome":"done"}');
INSERT INTO "entries" VALUES(7,1700000012.0,'batch.filed',1,NULL,'{"file":"done.yaml","outcome":"done","filed_as":"done/done.yaml"}');
INSERT INTO "entries" VALUES(8,1700000020.0,'batch.claimed',2,NULL,'{"file":"doubt.yaml","jobs":1}');
INSERT INTO "entries" VALUES(9,1700000020.0,'job.queued',2,2,'{"n":1}');
INSERT INTO "entries" VALUES(10,1700000020.0,'job.export_started',2,2,'{"n":1}');
INSERT INTO "entries" VALUES(11,1700000020.0,'job.in_doubt',2,2,'{"n":1,"reason":"no answer came","paid":"unknown"}');
INSERT INTO "entries" VALUES(12,1700000020.0,'batch.settled',2,NULL,'{"file":"doubt.yaml","outcome":"failed"}');
INSERT INTO "entries" VALUES(13,1700000020.0,'batch.filed',2,NULL,'{"file":"doubt.yaml","outcome":"failed","filed_as":"failed/doubt.yaml"}');
INSERT INTO "entries" VALUES(14,1700000040.0,'batch.claimed',3,NULL,'{"file":"spring/batch.yaml","jobs":2}');
INSERT INTO "entries" VALUES(15,1700000040.0,'job.queued',3,3,'{"n":1}');
INSERT INTO "entries" VALUES(16,1700000040.0,'job.queued',3,4,'{"n":2}');
INSERT INTO "entries" VALUES(17,1700000040.0,'job.export_started',3,3,'{"n":1}');
INSERT INTO "entries" VALUES(18,1700000040.0,'job.exported',3,3,'{"n":1,"project_id":"project3"}');
INSERT INTO "entries" VALUES(19,1700000040.0,'job.export_started',3,4,'{"n":2}');
INSERT INTO "entries" VALUES(20,1700000040.0,'job.exported',3,4,'{"n":2,"project_id":"project4"}');
INSERT INTO "entries" VALUES(21,1700000045.0,'batch.claimed',4,NULL,'{"file":"asked.yaml","jobs":1}');
INSERT INTO "entries" VALUES(22,1700000045.0,'job.queued',4,5,'{"n":1}');
INSERT INTO "entries" VALUES(23,1700000045.0,'job.export_started',4,5,'{"n":1}');
CREATE TABLE job_files (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	owner TEXT NOT NULL, 
	name BLOB NOT NULL, 
	processing_name BLOB NOT NULL, 
	state TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	content BLOB NOT NULL, 
	problems TEXT NOT NULL, 
	claimed_at FLOAT NOT NULL, 
	outcome TEXT, 
	settled_at FLOAT, 
	closed_at FLOAT, 
	filed_as BLOB, 
	clears TEXT NOT NULL
);
INSERT INTO "job_files" VALUES(1,'9e7308e8b5f4284d',X'646F6E652E79616D6C',X'646F6E652E79616D6C','closed','[65024,2171358,52,1795420554342478955,1795420554342478955]','a66eb375535931f0ea894841b2304cba35b0c57b581e961bee3b8dc318b85149',X'','[]',1700000000.0,'done',1700000012.0,1700000012.0,X'646F6E652F646F6E652E79616D6C','[]');
INSERT INTO "job_files" VALUES(2,'9e7308e8b5f4284d',X'646F7562742E79616D6C',X'646F7562742E79616D6C','closed','[65024,2171360,52,1795420554402232254,1795420554402232254]','e97895d58b0f49caf08eb4ab8702e395cdbfff3683f5dbf2330eb97265843ef9',X'','[]',1700000020.0,'failed',1700000020.0,1700000020.0,X'6661696C65642F646F7562742E79616D6C','[]');
INSERT INTO "job_files" VALUES(3,'9e7308e8b5f4284d',X'737072696E672F62617463682E79616D6C',X'737072696E672F62617463682E79616D6C','open','[65024,2171363,107,1795420554417592390,1795420554417592390]','04821fe9b11487cae22bc6bfbe83ddd7f685202661ccac3f35f36697d31e7d85',X'2D207B6C616E67756167653A20656E2C20746578743A2074687265652C206D6F64656C3A204D312C20636C6F746865733A2043317D0A2D207B6C616E67756167653A20656E2C20746578743A20666F75722C206D6F64656C3A204D312C20636C6F746865733A2043317D0A','[]',1700000040.0,NULL,NULL,NULL,NULL,'[]');
INSERT INTO "job_files" VALUES(4,'9e7308e8b5f4284d',X'61736B65642E79616D6C',X'61736B65642E79616D6C','open','[65024,2171290,53,1795420554435022220,1795420554435022220]','aff84ca4419824fa7216ceec10ccedfe474abbb99599e6e225eefcbe63823564',X'2D207B6C616E67756167653A20656E2C20746578743A20666976652C206D6F64656C3A204D312C20636C6F746865733A2043317D0A','[]',1700000045.0,NULL,NULL,NULL,NULL,'[]');
CREATE TABLE jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	owner TEXT NOT NULL, 
	file_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	body TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	name TEXT NOT NULL, 
	may_pay_again BOOLEAN NOT NULL, 
	project_id TEXT, 
	progress FLOAT NOT NULL, 
	exported_at FLOAT, 
	refusals INTEGER NOT NULL, 
	deferrals INTEGER NOT NULL, 
	video TEXT NOT NULL, 
	failure TEXT, 
	reason TEXT NOT NULL, 
	continues INTEGER, 
	continued_by INTEGER, 
	settled_at FLOAT, 
	is_pay_again_allowed BOOLEAN NOT NULL, 
	FOREIGN KEY(file_id) REFERENCES job_files (id)
);
INSERT INTO "jobs" VALUES(1,'9e7308e8b5f4284d',1,1,'done','{"language":"en","text":"one","model":"M1","clothes":"C1"}','29423a9b7e8716eee73f6bb6d725a32bd7fd5052fd5f5c52d486d35ff2c17ca7','null',0,'project1',100.0,1700000000.0,0,0,'{"path":"videos/done.mp4","bytes":13,"sha256":"a130d8fc4f84fd459c92dc2597f87a403d45ffb388a7aaff6a9635f02b76ace7"}',NULL,'""',NULL,NULL,1700000012.0,0);
INSERT INTO "jobs" VALUES(2,'9e7308e8b5f4284d',2,1,'failed','{"language":"en","text":"two","model":"M1","clothes":"C1"}','8435acff04d993005a12565d98692666f941f5d5edcb828e8f2f14418cd086ce','null',0,NULL,0.0,NULL,0,0,'null','in_doubt','"no answer came"',NULL,NULL,1700000020.0,0);
INSERT INTO "jobs" VALUES(3,'9e7308e8b5f4284d',3,1,'rendering','{"language":"en","text":"three","model":"M1","clothes":"C1"}','c0c9824477e6cb89f0d16b7743b7c08a33b7658ad16f362abecf44209dd80723','null',0,'project3',0.3,1700000040.0,0,0,'null',NULL,'""',NULL,NULL,NULL,0);
INSERT INTO "jobs" VALUES(4,'9e7308e8b5f4284d',3,2,'rendering','{"language":"en","text":"four","model":"M1","clothes":"C1"}','eab96040347161fa50a2e052da6d23d90c626720df6cfd43d0fd8404818f70a0','null',0,'project4',0.3,1700000040.0,0,0,'null',NULL,'""',NULL,NULL,NULL,0);
INSERT INTO "jobs" VALUES(5,'9e7308e8b5f4284d',4,1,'exporting','{"language":"en","text":"five","model":"M1","clothes":"C1"}','599158d2926bf1481d10c8c6d841bda34eef16834c446c067f444095ef906113','null',0,NULL,0.0,NULL,0,0,'null',NULL,'""',NULL,NULL,NULL,0);
CREATE TABLE notes (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "notes" VALUES('schema_version','"1"');
INSERT INTO "notes" VALUES('ledger_id','"9e7308e8b5f4284d"');
INSERT INTO "notes" VALUES('seen_root','"/srv/root"');
INSERT INTO "notes" VALUES('paused','false');
CREATE INDEX ix_job_files_name ON job_files (name);
CREATE INDEX open_job_files ON job_files (state) WHERE state IN ('claiming', 'open');
CREATE INDEX ix_job_files_filed_as ON job_files (filed_as);
CREATE INDEX ix_job_files_closed_at ON job_files (closed_at);
CREATE INDEX ix_entries_file_id ON entries (file_id);
CREATE INDEX ix_jobs_continued_by ON jobs (continued_by);
CREATE INDEX ix_jobs_file_id ON jobs (file_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('job_files',4);
INSERT INTO "sqlite_sequence" VALUES('jobs',5);
INSERT INTO "sqlite_sequence" VALUES('entries',23);
COMMIT;
