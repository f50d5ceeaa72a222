//! Which OCSF 1.8.0 class and activity each kind of event is, and the form that the class asks for.

use ops::event::EventKind;

/// The version of the schema.
pub const VERSION: &str = "1.8.0";

/// The members that a class requires beyond the common ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// `api`, `actor`, `src_endpoint`.
    Api,
    /// As [`Form::Api`] with the profile `ai_operation`.
    AiApi,
    /// `actor`, `src_endpoint` and what was read or written.
    Datastore,
    /// `entity`.
    Entity,
    /// `user`: their account.
    Account,
    /// `user`, `service`: they prove who they are.
    Authentication,
    /// `user`, `privileges`.
    UserAccess,
    /// `app`.
    Application,
    /// `actor`, `device`, `job`.
    Job,
    /// `actor`, `device`, `module`.
    Module,
    /// `actor`, `device`, `process`.
    Process,
    /// `scan`.
    Scan,
    /// `finding_info`.
    Finding,
    /// `finding_info`, `compliance`.
    Compliance,
    /// `log_name`.
    Log,
}

/// An OCSF class with one of its activities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// `class_uid`, which is category · 1000 + class.
    pub uid: u64,
    /// `activity_id`.
    pub activity: u64,
    /// Name of the activity where the schema has only 99, "Other".
    pub other: Option<&'static str>,
    /// The members it requires.
    pub form: Form,
}

impl Class {
    /// `category_uid`.
    pub const fn category(self) -> u64 {
        self.uid / 1000
    }
    /// `type_uid`.
    pub const fn type_uid(self) -> u64 {
        self.uid.saturating_mul(100).saturating_add(self.activity)
    }
}

const fn class(form: Form, activity: u64) -> Class {
    let uid = match form {
        Form::Module => 1005,
        Form::Job => 1006,
        Form::Process => 1007,
        Form::Log => 1008,
        Form::Compliance => 2003,
        Form::Finding => 2004,
        Form::Account => 3001,
        Form::Authentication => 3002,
        Form::Entity => 3004,
        Form::UserAccess => 3005,
        Form::Application => 6002,
        Form::Api | Form::AiApi => 6003,
        Form::Datastore => 6005,
        Form::Scan => 6007,
    };
    Class { uid, activity, other: None, form }
}

const fn other(form: Form, name: &'static str) -> Class {
    let mut class = class(form, 99);
    class.other = Some(name);
    class
}

/// The class of a kind of event. Activity numbers are those of the class in schema 1.8.0.
#[expect(
    clippy::too_many_lines,
    reason = "a table: each kind stands in it once, and the compiler sees that all do"
)]
pub const fn class_of(kind: EventKind) -> Class {
    use EventKind as K;
    match kind {
        // Application Lifecycle: 3 Start, 4 Stop, 5 Restart.
        K::NodeStart | K::ComponentStart | K::JobStart => class(Form::Application, 3),
        K::NodeStop | K::ComponentStop | K::JobInterrupt | K::JobFinish | K::JobStop => {
            class(Form::Application, 4)
        }
        K::JobResume | K::NodeReboot => class(Form::Application, 5),
        // Scheduled Job Activity: 1 Create, 5 Disable.
        K::JobSubmit => class(Form::Job, 1),
        K::JobHold => class(Form::Job, 5),
        // Datastore Activity: 1 Read, 2 Update, 5 Write, 6 Create, 9 Encrypt, 10 Decrypt.
        K::DatasetImport | K::ImageImport => class(Form::Datastore, 6),
        K::DatasetVerify | K::DatasetRead | K::CheckpointVerify | K::CheckpointRestore | K::ModelExport => {
            class(Form::Datastore, 1)
        }
        K::CheckpointSeal => class(Form::Datastore, 5),
        K::CheckpointQuarantine => class(Form::Datastore, 2),
        K::KeyWrap => class(Form::Datastore, 9),
        K::KeyRelease | K::BudgetExhausted => class(Form::Datastore, 10),
        // Detection Finding: 1 Create.
        K::CheckpointOverdue
        | K::CheckpointMalformed
        | K::ModelTampered
        | K::MetadataSetBack
        | K::EgressAlarm
        | K::EgressRefuse
        | K::PolicyUnverified
        | K::SafeModeEnter
        | K::BreakGlassOpen
        | K::RecoveryRefuse => class(Form::Finding, 1),
        // Compliance Finding: 1 Create.
        K::PostureRun | K::BreakGlassDrill => class(Form::Compliance, 1),
        // Scan Activity: 2 Completed.
        K::ModelInspect => class(Form::Scan, 2),
        // Module Activity: 1 Load, 2 Unload.
        K::ModelLoad => class(Form::Module, 1),
        K::ModelUnload => class(Form::Module, 2),
        // Process Activity: 1 Launch, 2 Terminate.
        K::SandboxCreate => class(Form::Process, 1),
        K::SandboxEnd => class(Form::Process, 2),
        // API Activity: 1 Create, 2 Read, 3 Update, 4 Delete.
        K::ModelRegister
        | K::ModelImport
        | K::IntakeBegin
        | K::IntakeAdmit
        | K::EndpointDeploy
        | K::ReleaseStage => class(Form::Api, 1),
        K::ModelVerify | K::NodeDiagnose => class(Form::Api, 2),
        K::IntakeStep
        | K::IntakeEvaluate
        | K::IntakeApprove
        | K::IntakeRefuse
        | K::ModelQuarantine
        | K::RevocationCreate
        | K::TrustApply
        | K::ModelCountersign
        | K::RevocationLift
        | K::PolicyApply
        | K::PolicyWithdraw
        | K::ReleaseActivate
        | K::ReleaseReturn => class(Form::Api, 3),
        K::EndpointStop => class(Form::Api, 4),
        K::EgressOpen | K::EgressClose | K::EgressCreate | K::EgressDelete => other(Form::Api, "Egress"),
        K::InferenceAdmit => other(Form::Api, "Admit"),
        K::Inference => other(Form::AiApi, "Infer"),
        K::WardenOrder => other(Form::Api, "Order"),
        K::AccessRefuse => other(Form::Api, "Access"),
        K::ApprovalRequest => other(Form::Api, "Ask for approval"),
        K::ApprovalDecide => other(Form::Api, "Decide on approval"),
        K::SafeModeLeave => other(Form::Api, "Leave safe mode"),
        K::BreakGlassSeal => other(Form::Api, "Make recovery codes"),
        K::BreakGlassClose => other(Form::Api, "Close break-glass"),
        // Entity Management: 1 Create, 2 Read, 11 Deactivate.
        K::TenantCreate | K::BomCreate | K::ApiKeyCreate | K::ScopeCreate | K::ServiceCreate => {
            class(Form::Entity, 1)
        }
        K::BomVerify | K::BomExport => class(Form::Entity, 2),
        K::ApiKeyRevoke | K::ServiceRevoke => class(Form::Entity, 11),
        K::ServiceRenew => other(Form::Entity, "Renew certificate"),
        K::EgressCertify => other(Form::Entity, "Issue certificate"),
        K::Sign => other(Form::Entity, "Sign"),
        // Account Change: 1 Create, 5 Disable, 9 Lock, 10 MFA Factor Enable.
        K::UserCreate => class(Form::Account, 1),
        K::UserEnrol => other(Form::Account, "Make an enrolment link"),
        K::UserDisable => class(Form::Account, 5),
        K::UserLock => class(Form::Account, 9),
        K::PasskeyAdd => class(Form::Account, 10),
        K::PasskeyRevoke => class(Form::Account, 11),
        // Authentication: 1 Logon, 2 Logoff.
        K::SessionOpen | K::SessionRefuse => class(Form::Authentication, 1),
        K::SessionEnd | K::SessionRevoke => class(Form::Authentication, 2),
        // User Access Management: 1 Assign Privileges, 2 Revoke Privileges.
        K::GrantCreate => class(Form::UserAccess, 1),
        K::GrantRevoke => class(Form::UserAccess, 2),
        // Event Log Activity: 3 Export.
        K::LogExport => class(Form::Log, 3),
        K::LogRead => other(Form::Log, "Read"),
        K::LogTailDropped => other(Form::Log, "Drop unacknowledged tail"),
        K::InferenceGap => other(Form::Log, "Gap"),
    }
}
