"""The messages, one a line: `Name field=number[:type] …`, after a line with their package.

A type is text by default, one of the scalars below, or a message: `.pb.X` in full or `X` of the same package; `type*`
is repeated, `<key,type>` a map. A field before which `|` stands is one alternative of the message's only oneof.
Enumerations travel as int32 does, so they are int32 here. Fields that nobody reads or sets are left out.
"""

SCHEMA = """
package google.protobuf
Timestamp seconds=1:int64 nanos=2:int32
Any type_url=1 value=2:bytes

package google.rpc
Status code=1:int32 message=2 details=3:.google.protobuf.Any*

package pb
Op inputs=1:Input* |source=3:SourceOp |exec=2:ExecOp |file=4:FileOp |build=5:BuildOp platform=10:Platform
ExecOp mounts=2:Mount*
Mount input=1:int64 dest=3
FileOp actions=2:FileAction*
FileAction input=1:int64 secondaryInput=2:int64 output=3:int64
BuildOp builder=1:int64
Platform Architecture=1 OS=2 Variant=3 OSVersion=4 OSFeatures=5:text*
Input digest=1 index=2:int64
SourceOp identifier=1 attrs=2:<text,text>
OpMetadata ignore_cache=1:bool description=2:<text,text> caps=5:<text,bool> progress_group=6:ProgressGroup
Source locations=1:<text,Locations> infos=2:SourceInfo*
Locations locations=1:Location*
SourceInfo filename=1 data=2:bytes definition=3:Definition language=4
Location sourceIndex=1:int32 ranges=2:Range*
Range start=1:Position end=2:Position
Position line=1:int32 character=2:int32
ProgressGroup id=1 name=2 weak=3:bool
Definition def=1:bytes* metadata=2:<text,OpMetadata> Source=3:Source

package moby.buildkit.v1.types
WorkerRecord ID=1 Labels=2:<text,text> platforms=3:.pb.Platform* GCPolicy=4:GCPolicy* BuildkitVersion=5:BuildkitVersion
GCPolicy all=1:bool keepDuration=2:int64 filters=4:text* reservedSpace=3:int64 maxUsedSpace=5:int64 minFreeSpace=6:int64
BuildkitVersion package=1 version=2 revision=3 dockerfileVersion=4

package moby.buildkit.v1.sourcepolicy
Policy version=1:int64 rules=2:Rule*
Rule action=1:int32 selector=2:Selector updates=3:Update
Update identifier=1 attrs=2:<text,text>
Selector identifier=1 match_type=2:int32 constraints=3:AttrConstraint*
AttrConstraint key=1 value=2 condition=3:int32

package moby.buildkit.v1.apicaps
APICap ID=1 Enabled=2:bool Deprecated=3:bool DisabledReason=4 DisabledReasonMsg=5 DisabledAlternative=6

package fsutil.types
Stat path=1 mode=2:uint32 uid=3:uint32 gid=4:uint32 size=5:int64 modTime=6:int64 linkname=7 devmajor=8:int64 \
 devminor=9:int64 xattrs=10:<text,bytes>
Packet type=1:int32 stat=2:Stat ID=3:uint32 data=4:bytes

package moby.buildkit.v1
PruneRequest filter=1:text* all=2:bool keepDuration=3:int64 reservedSpace=4:int64 maxUsedSpace=5:int64 \
 minFreeSpace=6:int64
DiskUsageRequest filter=1:text* ageLimit=2:int64
DiskUsageResponse record=1:UsageRecord*
UsageRecord ID=1 Mutable=2:bool InUse=3:bool Size=4:int64 Parent=5 CreatedAt=6:.google.protobuf.Timestamp \
 LastUsedAt=7:.google.protobuf.Timestamp UsageCount=8:int64 Description=9 RecordType=10 Shared=11:bool Parents=12:text*
SolveRequest Ref=1 Definition=2:.pb.Definition ExporterDeprecated=3 ExporterAttrsDeprecated=4:<text,text> Session=5 \
 Frontend=6 FrontendAttrs=7:<text,text> Cache=8:CacheOptions Entitlements=9:text* \
 FrontendInputs=10:<text,.pb.Definition> \
 Internal=11:bool SourcePolicy=12:.moby.buildkit.v1.sourcepolicy.Policy Exporters=13:Exporter* \
 EnableSessionExporter=14:bool SourcePolicySession=15
CacheOptions ExportRefDeprecated=1 ImportRefsDeprecated=2:text* ExportAttrsDeprecated=3:<text,text> \
 Exports=4:CacheOptionsEntry* Imports=5:CacheOptionsEntry*
CacheOptionsEntry Type=1 Attrs=2:<text,text>
SolveResponse ExporterResponse=1:<text,text>
StatusRequest Ref=1
StatusResponse vertexes=1:Vertex* statuses=2:VertexStatus* logs=3:VertexLog* warnings=4:VertexWarning*
Vertex digest=1 inputs=2:text* name=3 cached=4:bool started=5:.google.protobuf.Timestamp \
 completed=6:.google.protobuf.Timestamp error=7 progressGroup=8:.pb.ProgressGroup
VertexStatus ID=1 vertex=2 name=3 current=4:int64 total=5:int64 timestamp=6:.google.protobuf.Timestamp \
 started=7:.google.protobuf.Timestamp completed=8:.google.protobuf.Timestamp
VertexLog vertex=1 timestamp=2:.google.protobuf.Timestamp stream=3:int64 msg=4:bytes
VertexWarning vertex=1 level=2:int64 short=3:bytes detail=4:bytes* url=5 info=6:.pb.SourceInfo ranges=7:.pb.Range*
BytesMessage data=1:bytes
ListWorkersRequest filter=1:text*
ListWorkersResponse record=1:.moby.buildkit.v1.types.WorkerRecord*
InfoRequest
InfoResponse buildkitVersion=1:.moby.buildkit.v1.types.BuildkitVersion
BuildHistoryRequest ActiveOnly=1:bool Ref=2 EarlyExit=3:bool Filter=4:text* Limit=5:int32
BuildHistoryEvent type=1:int32 record=2:BuildHistoryRecord
BuildHistoryRecord Ref=1 Frontend=2 FrontendAttrs=3:<text,text> Exporters=4:Exporter* error=5:.google.rpc.Status \
 CreatedAt=6:.google.protobuf.Timestamp CompletedAt=7:.google.protobuf.Timestamp logs=8:Descriptor \
 ExporterResponse=9:<text,text> Result=10:BuildResultInfo Results=11:<text,BuildResultInfo> Generation=12:int32 \
 trace=13:Descriptor pinned=14:bool numCachedSteps=15:int32 numTotalSteps=16:int32 numCompletedSteps=17:int32 \
 externalError=18:Descriptor numWarnings=19:int32
UpdateBuildHistoryRequest Ref=1 Pinned=2:bool Delete=3:bool Finalize=4:bool
UpdateBuildHistoryResponse
Descriptor media_type=1 digest=2 size=3:int64 annotations=5:<text,text>
BuildResultInfo ResultDeprecated=1:Descriptor Attestations=2:Descriptor* Results=3:<int64,Descriptor>
Exporter Type=1 Attrs=2:<text,text>

package moby.buildkit.v1.frontend
Result |refDeprecated=1 |refsDeprecated=2:RefMapDeprecated |ref=3:Ref |refs=4:RefMap metadata=10:<text,bytes> \
 attestations=12:<text,Attestations>
RefMapDeprecated refs=1:<text,text>
Ref id=1 def=2:.pb.Definition
RefMap refs=1:<text,Ref>
Attestations attestation=1:Attestation*
Attestation kind=1:int32 metadata=2:<text,bytes> ref=3:Ref path=4 inTotoPredicateType=5
ReturnRequest result=1:Result error=2:.google.rpc.Status
ReturnResponse
InputsRequest
InputsResponse Definitions=1:<text,.pb.Definition>
ResolveImageConfigRequest Ref=1 Platform=2:.pb.Platform ResolveMode=3 LogName=4 ResolverType=5:int32 \
 SessionID=6 StoreID=7
ResolveImageConfigResponse Digest=1 Config=2:bytes Ref=3
SolveRequest Definition=1:.pb.Definition Frontend=2 FrontendOpt=3:<text,text> allowResultReturn=5:bool \
 allowResultArrayRef=6:bool Final=10:bool ExporterAttr=11:bytes CacheImports=12:CacheOptionsEntry* \
 FrontendInputs=13:<text,.pb.Definition> Evaluate=14:bool SourcePolicies=15:.moby.buildkit.v1.sourcepolicy.Policy*
CacheOptionsEntry Type=1 Attrs=2:<text,text>
SolveResponse ref=1 result=3:Result
ReadFileRequest Ref=1 FilePath=2 Range=3:FileRange MountIndex=4:int32
FileRange Offset=1:int64 Length=2:int64
ReadFileResponse Data=1:bytes
ReadDirRequest Ref=1 DirPath=2 IncludePattern=3 MountIndex=4:int32
ReadDirResponse entries=1:.fsutil.types.Stat*
StatFileRequest Ref=1 Path=2 MountIndex=3:int32
StatFileResponse stat=1:.fsutil.types.Stat
EvaluateRequest Ref=1
EvaluateResponse
PingRequest
PongResponse FrontendAPICaps=1:.moby.buildkit.v1.apicaps.APICap* LLBCaps=2:.moby.buildkit.v1.apicaps.APICap* \
 Workers=3:.moby.buildkit.v1.types.WorkerRecord*
WarnRequest digest=1 level=2:int64 short=3:bytes detail=4:bytes* url=5 info=6:.pb.SourceInfo ranges=7:.pb.Range*
WarnResponse

package moby.filesync.v1
BytesMessage data=1:bytes
CredentialsRequest Host=1
CredentialsResponse Username=1 Secret=2
FetchTokenRequest ClientID=1 Host=2 Realm=3 Service=4 Scopes=5:text*
FetchTokenResponse Token=1 ExpiresIn=2:int64 IssuedAt=3:int64
GetTokenAuthorityRequest Host=1 Salt=2:bytes
GetTokenAuthorityResponse PublicKey=1:bytes

package moby.buildkit.secrets.v1
GetSecretRequest ID=1 annotations=2:<text,text>
GetSecretResponse data=1:bytes

package moby.sshforward.v1
BytesMessage data=1:bytes
CheckAgentRequest ID=1
CheckAgentResponse

package moby.upload.v1
BytesMessage data=1:bytes

package containerd.services.content.v1
Info digest=1 size=2:int64
InfoRequest digest=1
InfoResponse info=1:Info
ReadContentRequest digest=1 offset=2:int64 size=3:int64
ReadContentResponse offset=1:int64 data=2:bytes
WriteContentRequest action=1:int32 ref=2 total=3:int64 expected=4 offset=5:int64 data=6:bytes
WriteContentResponse action=1:int32 offset=4:int64 total=5:int64 digest=6

package grpc.health.v1
HealthCheckRequest service=1
HealthCheckResponse status=1:int32
"""
